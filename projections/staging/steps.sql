-- Named steps that several metrics share. `day` is the programme's day up to whose end things count, by when they happened;
-- `known_at`, where it is not NULL, leaves out what was recorded after that moment: the answer as it would have been then.

-- statement: came_back
-- Has an order come back whole? Told by the money of its own lines, as its total can hold tax and delivery; by pieces where they cost nothing;
-- by the total where no line was told. Nothing that came back is no.
create or replace macro staging.came_back(refunded_minor, refunded_quantity, lines_minor, lines_quantity, total_minor) as
coalesce(if(coalesce(lines_minor, total_minor) > 0, refunded_minor >= coalesce(lines_minor, total_minor),
    refunded_quantity >= coalesce(lines_quantity, 0)), false);

-- statement: sales_as_of
-- One row per counted order: what is left of its money after the refunds until then. Money in another currency than the
-- programme's counts as nothing (in_currency tells which).
create or replace macro staging.sales_as_of(day, known_at := null) as table (
    with asked as (
        select cast(day as date) as as_of, time_zone, currency
        from staging.clock
    ),

    returned as (
        select r.order_source, r.order_id, r.member_id, r.currency, sum(r.refunded_minor) as refunded_minor,
            sum(r.quantity) as quantity, sum(coalesce(r.paid_back_minor, r.refunded_minor)) as paid_back_minor
        from main.refunds as r
        cross join asked as a
        where r.reason is null and cast(r.occurred_at at time zone a.time_zone as date) <= a.as_of
            and (known_at is null or r.recorded_at <= cast(known_at as timestamptz))
        group by all
    ),

    matched as (
        select p.partition, p.position, p.total_minor, r.refunded_minor, r.quantity, r.paid_back_minor
        from staging.orders as p
        inner join returned as r
            on r.order_source = p.order_source and r.order_id = p.order_id and r.member_id is not distinct from p.member_id
                and r.currency = p.currency
    ),

    goods as (
        select l.partition, l.position, cast(sum(l.amount_minor) as bigint) as lines_minor, sum(l.quantity) as quantity
        from staging.purchase_lines as l
        inner join matched as m on m.partition = l.partition and m.position = l.position
        group by l.partition, l.position
    ),

    refunded as (
        select m.partition, m.position, m.paid_back_minor,
            staging.came_back(m.refunded_minor, m.quantity, g.lines_minor, g.quantity, m.total_minor) as fully_refunded
        from matched as m
        left join goods as g on g.partition = m.partition and g.position = m.position
    )

    select p.member_id, p.order_source, p.order_id, p.occurred_at, s.day as sold_on,
        p.channel, p.store, p.currency = coalesce(a.currency, p.currency) as in_currency, p.total_minor,
        if(p.currency = coalesce(a.currency, p.currency), p.total_minor - least(coalesce(r.paid_back_minor, 0), p.total_minor), 0) as net_minor,
        coalesce(r.fully_refunded, false) as fully_refunded, a.as_of, p.partition, p.position
    from staging.orders as p
    inner join staging.sale_quarters as s on s.quarter = staging.quarter(p.occurred_at)
    inner join asked as a on s.day <= a.as_of
    left join refunded as r on r.partition = p.partition and r.position = p.position
    where known_at is null or p.recorded_at <= cast(known_at as timestamptz)
);

-- statement: purchase_days_as_of
-- One row per member and day with a purchase. Days, because two orders of one afternoon say nothing about coming back.
create or replace macro staging.purchase_days_as_of(day, known_at := null) as table (
    select distinct o.member_id, s.day as sold_on
    from staging.orders as o
    inner join staging.sale_quarters as s on s.quarter = staging.quarter(o.occurred_at)
    where o.member_id is not null and s.day <= cast(day as date)
        and (known_at is null or o.recorded_at <= cast(known_at as timestamptz))
);

-- statement: sold_lines_as_of
-- One row per line of a counted order in the programme's currency, less what came back of it.
create or replace macro staging.sold_lines_as_of(day, known_at := null) as table (
    with returned as (
        select r.order_source, r.order_id, b.line, sum(b.quantity) as quantity, sum(b.amount_minor) as amount_minor
        from staging.returned_lines as b
        inner join staging.refunds as r on r.partition = b.partition and r.position = b.fact_position
        cross join staging.clock as c
        where cast(r.occurred_at at time zone c.time_zone as date) <= cast(day as date)
            and (known_at is null or r.recorded_at <= cast(known_at as timestamptz))
        group by all
    )

    select o.member_id, o.order_source, o.order_id, o.sold_on, l.line, l.sku, l.category,
        l.quantity as sold_quantity, coalesce(b.quantity, 0) as returned_quantity, l.quantity - coalesce(b.quantity, 0) as quantity,
        l.amount_minor - coalesce(b.amount_minor, 0) as amount_minor
    from staging.sales_as_of(day, known_at := known_at) as o
    inner join staging.purchase_lines as l on l.partition = o.partition and l.position = o.position
    left join returned as b on b.order_source = o.order_source and b.order_id = o.order_id and b.line = l.line
    where o.in_currency
);

-- statement: entries_as_of
-- One row per movement of points until the end of `day`. What was known is told by position: the logs as they stood at `known_at`.
create or replace macro staging.entries_as_of(day, known_at := null) as table (
    select e.*, m.day as moved_on
    from staging.points_entries as e
    inner join staging.move_quarters as m on m.quarter = staging.quarter(e.occurred_at)
    left join staging.standing(known_at) as s on s.partition = e.partition
    where m.day <= cast(day as date) and (known_at is null or e.position <= s.position)
);

-- statement: economics
-- One row per day on which a version begins: what a point is worth, what is kept of a sale, and the goals, from that day on.
create or replace view staging.economics as
select cast(p.valid_from at time zone c.time_zone as date) as from_on, p.programme_hash, p.version, p.point_minor, p.margin, p.goals
from staging.programmes as p
cross join staging.clock as c
qualify row_number() over (
    partition by cast(p.valid_from at time zone c.time_zone as date) order by p.valid_from desc, p.version desc, p.partition, p.position
) = 1;

-- statement: economics_at
-- At most one row: what of this is in force on a day.
create or replace macro staging.economics_at(day) as table (
    select *
    from staging.economics
    where from_on <= cast(day as date)
    qualify row_number() over (order by from_on desc) = 1
);

-- statement: kept_as_of
-- One row: which share of members' sales until the end of `day` is kept, by the margins in force on that day; NULL where none is said.
create or replace macro staging.kept_as_of(day, known_at := null) as table (
    with said as (
        select margin
        from staging.economics_at(day)
        where margin is not null
    ),

    categories as (
        select unnest(margin.categories, recursive := true)
        from said
    ),

    sold as (
        select l.category, sum(l.amount_minor) as amount_minor
        from staging.sold_lines_as_of(day, known_at := known_at) as l
        where l.member_id is not null
        group by l.category
    )

    select coalesce(
        sum(s.amount_minor * coalesce(c."share", m.margin."share")) / nullif(sum(s.amount_minor), 0), any_value(m.margin."share")
    ) as kept
    from said as m
    left join sold as s on true
    left join categories as c on c.category = s.category
);
