-- How far each log has been taken, written in the transaction of the rows. The batch's ends stand in new_positions(topic, partition, position).

-- statement: rise
-- A position only rises: a delivery of older records leaves it where it is.
create or replace temp table risen_positions as
select n.topic, n.partition, n.position
from new_positions as n
left join log_positions as p using (topic, partition)
where n.position > coalesce(p.position, -1);

-- statement: forget
delete from log_positions
where exists (
    select 1
    from risen_positions as r
    where r.topic = log_positions.topic and r.partition = log_positions.partition
);

-- statement: remember
insert into log_positions
select topic, partition, position
from risen_positions;
