-- statement: sleepers_as_of
-- Regulars who fell silent: at least three purchase days, and silence of more than twice their own usual gap and 30 days.
create or replace macro sleepers_as_of(day, known_at := null) as table (
    with sold as (
        select member_id, sold_on, net_minor, max(sold_on) over (partition by member_id) as last_on
        from staging.sales_as_of(day, known_at := known_at)
        where member_id is not null
    ),

    years as (
        select member_id, cast(sum(net_minor) as bigint) as yearly_minor, count(distinct sold_on) as yearly_purchase_days
        from sold
        where sold_on > last_on - 365
        group by member_id
    )

    select r.member_id, r.last_on, r.silent_days, r.usual_gap_days, r.times_usual, r.purchase_days, y.yearly_purchase_days, y.yearly_minor
    from purchase_rhythm_as_of(day, known_at := known_at) as r
    inner join years as y using (member_id)
    where r.purchase_days >= 3 and r.silent_days > greatest(2 * r.usual_gap_days, 30)
);

-- statement: sleepers
create or replace view sleepers as
from sleepers_as_of((select c.as_of from staging.clock as c));
