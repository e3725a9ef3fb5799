-- Who comes back, who is pleased, where it goes better and worse: the metrics of docs/metrics.md, newest first.

-- statement: retention
select month, complete, window_days, members_start, kept, lost, new_members, returned, members_end, retention
from retention
order by month desc
limit 24;

-- statement: repeats
select within_days, buyers, repeaters, rate
from repeat_purchases
order by within_days nulls last;

-- statement: places
with months as (
    select max(month) as newest
    from sales_months
    where complete
)

select s.dimension, s.value, s.month, s.orders, s.members, s.net_minor, s.members_share, s.order_value_minor, s.change_on_month, s.change_on_year
from sales_months as s
inner join months as m on m.newest = s.month
order by s.dimension, s.net_minor desc, s.value
limit 60;

-- statement: churn
select dimension, value, members, churned, churn, churned_net_minor, horizon_days
from churn_by
order by dimension <> 'all', dimension, churned_net_minor desc, value
limit 60;

-- statement: satisfaction
select month, survey, kind, answers, mean_score, csat, nps
from satisfaction_months
order by month desc, survey, kind
limit 24;

-- statement: unhappy
select sign, count(distinct member_id) as members, max(last_on) as last_on
from unhappy_members
group by sign
order by members desc, sign;

-- statement: sleepers
select member_id, last_on, silent_days, usual_gap_days, times_usual, yearly_minor, count(*) over () as all_sleepers,
    cast(sum(yearly_minor) over () as bigint) as all_yearly_minor
from sleepers
order by yearly_minor desc, member_id
limit 20;
