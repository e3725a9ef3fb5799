-- Recency, frequency and money in fifths.

-- statement: grid
select r, f, any_value(segment) as segment, count(*) as members, sum(monetary_minor)::bigint as money_minor
from rfm_segments
group by r, f
order by r desc, f;

-- statement: segments
select segment, count(*) as members, count(*) / sum(count(*)) over () as share, sum(monetary_minor)::bigint as money_minor,
    round(avg(recency_days), 1) as recency_days, round(avg(frequency), 1) as orders
from rfm_segments
group by segment
order by money_minor desc, segment;

-- statement: segment_members
select member_id, recency_days, frequency, monetary_minor, r, f, m, segment
from rfm_segments
where segment = $segment
order by monetary_minor desc, member_id
limit $rows offset $skip;
