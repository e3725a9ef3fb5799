-- The key store: one row per key of a member. A destroyed key leaves its row without the key, so that nobody takes it for lost.

-- statement: schema
create table if not exists keys (
    key_id text primary key,
    member text not null,
    wrapped blob,
    created_us integer not null,
    destroyed_us integer
) strict;

-- statement: one_live_key
create unique index if not exists one_live_key on keys (member) where wrapped is not null;

-- statement: live
select key_id, wrapped
from keys
where member = ? and wrapped is not null;

-- statement: forgotten
select max(destroyed_us)
from keys
where member = ?;

-- statement: by_id
select wrapped
from keys
where key_id = ? and member = ?;

-- statement: add
insert into keys (key_id, member, wrapped, created_us)
values (?, ?, ?, ?);

-- statement: destroy
update keys
set wrapped = null, destroyed_us = ?
where member = ? and wrapped is not null;

-- statement: mark
insert into keys (key_id, member, created_us, destroyed_us)
values (?, ?, ?, ?);

-- statement: destroy_before
update keys
set wrapped = null, destroyed_us = ?
where member = ? and wrapped is not null and created_us <= ?;

-- statement: all_live
select key_id, member, wrapped
from keys
where wrapped is not null;

-- statement: rewrap
update keys
set wrapped = ?
where key_id = ?;

-- statement: count
select count(*) filter (where wrapped is not null), count(*) filter (where wrapped is null)
from keys;

-- statement: knows
select count(*) > 0
from keys
where member = ?;

-- statement: any_live
select key_id, member, wrapped
from keys
where wrapped is not null
limit 1;
