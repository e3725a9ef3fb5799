-- Who is loyal? Segments by what they spent
select segment, count(*) as members, round(100 * count(*) / sum(count(*)) over (), 1) as members_percent,
    round(100 * sum(monetary_minor) / sum(sum(monetary_minor)) over (), 1) as money_percent, median(recency_days) as days_since_order
from rfm_segments
group by segment
order by money_percent desc, segment;
