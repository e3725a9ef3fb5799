-- How far each log has been taken, written in the transaction of the rows: all of it anew, a few rows, which costs less than to
-- find those that changed. It stands in new_positions(topic, partition, position).

-- statement: forget
delete from log_positions;

-- statement: remember
insert into log_positions
select topic, partition, position
from new_positions;
