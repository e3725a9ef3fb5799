-- statement: liability_in_money
-- What the house owes in points, in money, by the month in which they expire: at the full worth of a point, and what will be asked for if they
-- go as points have gone so far. A management figure; see ifrs15_* for the accounting one.
create or replace view liability_in_money as
select l.expires_month, l.points, l.expected_points, w.point_minor, cast(l.points * w.point_minor as bigint) as owed_minor,
    cast(l.expected_points * w.point_minor as bigint) as expected_minor,
    cast((l.points - l.expected_points) * w.point_minor as bigint) as breakage_minor, c.as_of
from liability_by_expiry as l
cross join staging.clock as c
left join staging.economics_at((select k.as_of from staging.clock as k)) as w on true;
