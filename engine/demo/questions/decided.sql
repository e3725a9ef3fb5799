-- What came in, and what was answered; refused records are listed with their reason.
with told as (
    select type, outcome, coalesce(reason, '') as reason, count(*) as records
    from decisions
    where type not in ('stammgast.tick.v1', 'stammgast.programme.v1')
    group by all
    union all
    select 'not readable', 'refused', reason || ': ' || message, count(*)
    from rejects
    group by all
)

select replace(replace(type, 'stammgast.', ''), '.v1', '') as "fact", outcome as "outcome", reason as "why", records as "records"
from told
order by outcome, records desc, type, reason;
