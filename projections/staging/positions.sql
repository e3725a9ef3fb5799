-- How far each log has been taken, written in the transaction of the rows. The batch's ends stand in new_positions(topic, partition, position)
-- and lie behind the stored ones, because only records behind them are applied.

-- statement: forget
delete from log_positions
where exists (
    select 1
    from new_positions as n
    where n.topic = log_positions.topic and n.partition = log_positions.partition
);

-- statement: remember
insert into log_positions
select topic, partition, position
from new_positions;
