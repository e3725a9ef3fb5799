-- The last record of each log that the tables hold.
select 'facts' as topic, partition, max(position) as position
from facts
group by partition
union all
select 'points-log', partition, max(position)
from decisions
group by partition
union all
select 'rejects', rejects_partition, max(rejects_position)
from rejects
group by rejects_partition;
