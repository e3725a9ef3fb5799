create or replace view notice_outcomes as
-- The first time that each was told of a notice: whoever sends may send again, and a provider tells every opening.
select n.notice_id, coalesce(w.member_id, n.member_id) as member_id, n.channel, n.outcome, arg_min(n.reason, n.position) as reason,
    min(n.occurred_at) as occurred_at, min(n.recorded_at) as recorded_at, count(*) as times
from staging.notice_outcomes as n
inner join staging.decided as d using (partition, position)
left join staging.owners as w on w.alias = n.member_id
where d.reason is null
group by n.notice_id, coalesce(w.member_id, n.member_id), n.channel, n.outcome;
