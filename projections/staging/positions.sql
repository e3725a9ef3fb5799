-- How far each log has been taken, written in the transaction of the rows: all of it anew, a few rows, which costs less than to
-- find those that changed. It stands in three lists of one length, which cost a millisecond less than a table of a few rows.

-- statement: forget
delete from log_positions;

-- statement: remember
insert into log_positions
select unnest($1::varchar[]), unnest($2::integer[]), unnest($3::bigint[]);
