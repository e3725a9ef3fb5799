-- What did members have a week before the end, and what have they now?
select 'a week before' as moment, count(*) as members, sum(available)::bigint as available, sum(earned_ever)::bigint as earned_ever,
    sum(clawed_back_ever)::bigint as taken_back_ever
from balances_as_of((select settled_at - interval 7 day from meta))
union all
select 'now', count(*), sum(available)::bigint, sum(earned_ever)::bigint, sum(clawed_back_ever)::bigint
from balances;
