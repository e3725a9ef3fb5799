-- Two files of tables, row by row. The same SQL is run on each and the answers must be the same.

-- statement: tables
select table_schema, table_name
from information_schema.tables
where table_type = 'BASE TABLE' and table_name not in ('identity', 'settings', 'allowed_functions', 'allowed_tables')
    and table_name not in ('month_ends', 'member_months', 'month_turns', 'points_ends', 'member_points', 'waiting_lots')
order by all;

-- statement: kept
-- The projector keeps months when it finds the time: those that it has must be right, and it need not have all.
select partition, month_end from staging.month_ends;

-- statement: make_kept
create temp table kept_months (partition integer, month_end date);

-- statement: add_kept
insert into kept_months values ($1, $2);

-- statement: kept_digest
select count(*), coalesce(sum(hash(t)), 0)
from (select k.* from {table} as k semi join kept_months as m on m.partition = k.partition and m.month_end = k.month_end) as t;

-- statement: digest
-- The sum of the rows' hashes does not depend on their order.
select count(*), coalesce(sum(hash(t)), 0) from {table} as t;

-- statement: balances
select member_id, available + pending - debt from balances;

-- statement: lots
select lot_id, member_id, points_left from lots;

-- statement: tiers
select member_id, tier from tiers;
