-- Records of the rejects topic -> rows. The batch stands in the Arrow table incoming_rejects. The refused bytes themselves stay in
-- Kafka: they can hold anything, personal data too, and analysts read these tables.;

-- statement: rejects
insert into staging.rejects
select i.partition, i."offset", i.reason, nullif(i.field, ''), i.message, i.topic, i.source_partition, i.source_position,
    coalesce(try_cast(i.received_at as timestamptz), make_timestamptz(i.timestamp_ms * 1000))
from incoming_rejects as i;
