-- Who is loyal and who is slipping away: recency, frequency and money in fifths (RFM), as of the last day.
select segment as "segment", count(*) as "members", round(avg(recency_days), 1) as "days since last order",
    round(avg(frequency), 1) as "orders", format('{:,.2f}', sum(monetary_minor) / 100) as "spent"
from rfm_segments
group by segment
order by "members" desc, segment;
