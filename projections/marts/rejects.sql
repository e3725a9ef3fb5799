create or replace view rejects as
select reason, field, message, topic, source_partition as partition, source_position as position, received_at,
    partition as rejects_partition, position as rejects_position
from staging.rejects;
