-- Two files of tables, row by row. The same SQL is run on each and the answers must be the same.

-- statement: tables
select table_schema, table_name
from information_schema.tables
where table_type = 'BASE TABLE' and table_name not in ('identity', 'settings', 'allowed_functions', 'allowed_tables')
order by all;

-- statement: digest
-- The sum of the rows' hashes does not depend on their order.
select count(*), coalesce(sum(hash(t)), 0) from {table} as t;

-- statement: balances
select member_id, available + pending - debt from balances;

-- statement: lots
select lot_id, member_id, points_left from lots;

-- statement: tiers
select member_id, tier from tiers;
