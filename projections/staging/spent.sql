-- statement: spent_parts
-- What adds up to members' orders and money as of the end of `day`: a row per member of the newest kept month, one per sale that was told since,
-- and one per order of which something came back since. Members with several keys are counted from their first sale on. A refund that counts
-- is told after its sale, in the same partition, so of sales told since only refunds told since tell. Where a month is being kept
-- (`keeping`): only what came since the month before, up to the place that staging.month_ends names, by the keys as they were told.
create or replace macro staging.spent_parts(day, known_at := null, keeping := false) as table (
    with reach as (
        from staging.reach_as_of(day, known_at := known_at, keeping := keeping)
    ),

    quarters as (
        select q.quarter, q.day
        from staging.counted_quarters as q
        where q.day <= cast(day as date)
    ),

    keys as (
        select w.alias, w.member_id
        from staging.owners as w
        where not keeping
    ),

    keyed as (
        select alias as member_id from keys
        union
        select member_id from keys
    ),

    -- First the few rows, then their days, as in staging.bought_as_of.
    told as materialized (
        select p.partition, p.position, p.member_id, p.occurred_at, p.currency, p.total_minor
        from staging.purchases as p
        inner join reach as r on r.partition = p.partition and p.position > r.up_to and p.position <= r.told_to
        where p.member_id is not null and p.occurred_at < cast(cast(day as date) as timestamp) at time zone 'UTC' + interval 3 day
            and (known_at is null or p.recorded_at <= cast(known_at as timestamptz))
            and p.member_id not in (select k.member_id from keyed as k)
        union all
        select p.partition, p.position, coalesce(w.member_id, p.member_id), p.occurred_at, p.currency, p.total_minor
        from staging.purchases as p
        inner join keyed as k on k.member_id = p.member_id
        left join keys as w on w.alias = p.member_id
        where known_at is null or p.recorded_at <= cast(known_at as timestamptz)
    ),

    -- Orders of which something may have come back since; the same of members with several keys, whenever it did.
    returned as materialized (
        select r.order_source, r.order_id, r.currency, r.member_id, false as keyed
        from staging.refunds as r
        inner join reach as h on h.partition = r.partition and r.position <= h.told_to and (r.position > h.up_to or r.occurred_at >= h.ends_at)
        where r.occurred_at < cast(cast(day as date) as timestamp) at time zone 'UTC' + interval 3 day
            and (known_at is null or r.recorded_at <= cast(known_at as timestamptz))
            and r.member_id not in (select k.member_id from keyed as k)
        union
        select r.order_source, r.order_id, r.currency, coalesce(w.member_id, r.member_id), true
        from staging.refunds as r
        inner join keyed as k on k.member_id = r.member_id
        left join keys as w on w.alias = r.member_id
    ),

    orders as materialized (
        select p.partition, p.position, b.order_source, b.order_id, b.currency, b.member_id, p.occurred_at, p.total_minor,
            not b.keyed and p.position <= h.up_to as was_kept
        from staging.purchases as p
        inner join returned as b on b.order_source = p.order_source and b.order_id = p.order_id and b.currency = p.currency
        inner join reach as h on h.partition = p.partition
        left join keys as w on w.alias = p.member_id
        where coalesce(w.member_id, p.member_id) = b.member_id and p.position <= h.told_to
            and (known_at is null or p.recorded_at <= cast(known_at as timestamptz))
    ),

    refunds as materialized (
        select o.partition, o.position, r.partition as refund_partition, r.position as refund_position, r.total_minor,
            o.was_kept and r.position <= h.up_to and r.occurred_at < h.ends_at as was_kept
        from orders as o
        inner join staging.refunds as r on r.order_source = o.order_source and r.order_id = o.order_id and r.currency = o.currency
        inner join reach as h on h.partition = r.partition
        inner join staging.decided as d on d.partition = r.partition and d.position = r.position
        left join keys as w on w.alias = r.member_id
        cross join staging.clock as c
        where coalesce(w.member_id, r.member_id) = o.member_id and d.reason is null and r.position <= h.told_to
            and cast(r.occurred_at at time zone c.time_zone as date) <= cast(day as date)
            and (known_at is null or r.recorded_at <= cast(known_at as timestamptz))
    ),

    pieces as (
        select r.refund_partition, r.refund_position, sum(b.quantity) as quantity, sum(b.amount_minor) as amount_minor
        from (select distinct refund_partition, refund_position from refunds) as r
        inner join staging.returned_lines as b on b.partition = r.refund_partition and b.fact_position = r.refund_position
        group by all
    ),

    -- In each pair: what is known now, and what the kept month had counted.
    back as (
        select r.partition, r.position, sum(coalesce(b.amount_minor, 0)) as refunded_minor, sum(coalesce(b.quantity, 0)) as quantity,
            sum(coalesce(r.total_minor, b.amount_minor, 0)) as paid_back_minor,
            sum(coalesce(b.amount_minor, 0)) filter (where r.was_kept) as kept_refunded_minor,
            sum(coalesce(b.quantity, 0)) filter (where r.was_kept) as kept_quantity,
            coalesce(sum(coalesce(r.total_minor, b.amount_minor, 0)) filter (where r.was_kept), 0) as kept_paid_back_minor
        from refunds as r
        left join pieces as b on b.refund_partition = r.refund_partition and b.refund_position = r.refund_position
        group by r.partition, r.position
    ),

    goods as (
        select l.partition, l.position, cast(sum(l.amount_minor) as bigint) as lines_minor, sum(l.quantity) as quantity
        from staging.purchase_lines as l
        inner join (select distinct partition, position from back) as o on o.partition = l.partition and o.position = l.position
        group by l.partition, l.position
    ),

    changed as (
        select t.partition, t.position, t.member_id, t.occurred_at, t.currency, true as is_sale, 1 as orders, t.total_minor as net_minor
        from told as t
        union all
        select o.partition, o.position, o.member_id, o.occurred_at, o.currency, false,
            cast(staging.came_back(b.kept_refunded_minor, b.kept_quantity, g.lines_minor, g.quantity, o.total_minor) as integer)
            - cast(staging.came_back(b.refunded_minor, b.quantity, g.lines_minor, g.quantity, o.total_minor) as integer),
            least(b.kept_paid_back_minor, o.total_minor) - least(b.paid_back_minor, o.total_minor)
        from orders as o
        inner join back as b on b.partition = o.partition and b.position = o.position
        left join goods as g on g.partition = o.partition and g.position = o.position
    )

    select s.partition, s.member_id, q.day as sold_on, s.orders,
        if(s.currency = coalesce(c.currency, s.currency), s.net_minor, 0) as net_minor
    from changed as s
    inner join quarters as q on q.quarter = staging.quarter(s.occurred_at)
    left join staging.uncounted_facts as u on u.partition = s.partition and u.position = s.position
    cross join staging.clock as c
    where u.position is null
    union all
    select m.partition, m.member_id, m.last_on, m.orders, m.net_minor
    from staging.member_months as m
    inner join reach as r on r.partition = m.partition and r.month_end = m.month_end
    where not keeping and m.member_id not in (select k.member_id from keyed as k)
);

-- statement: spent_as_of
-- One row per member who had bought by the end of `day`: the last day, orders that had not come back whole, what was left of their money. The
-- same as to count staging.sales_as_of.
create or replace macro staging.spent_as_of(day, known_at := null) as table (
    select member_id, max(sold_on) as last_on, cast(sum(orders) as bigint) as orders, cast(sum(net_minor) as bigint) as net_minor
    from staging.spent_parts(day, known_at := known_at)
    group by member_id
);
