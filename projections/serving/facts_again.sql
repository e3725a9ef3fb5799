-- The facts log out of the tables, asked by `stammgast whatif --db`.

-- statement: facts
-- A record's own time is not kept: when its event was taken in stands for it, never earlier than the record before it.
-- What is no fact was answered by nobody, and is left out.
select f.partition, f.position, f.source, f.fact_id, f.type, f.member_id, f.payload,
    epoch_us(f.occurred_at) as time_us, epoch_us(f.recorded_at) as recorded_us,
    max(epoch_ms(f.recorded_at)) over (partition by f.partition order by f.position) as timestamp_ms,
    d.reason as quarantine, d.notes[1]."text" as quarantine_text
from facts as f
left join decisions as d
    on d.outcome = 'quarantined' and d.partition = f.partition and d.fact_position = f.position
where f.type <> 'stammgast.unreadable'
order by f.partition, f.position;
