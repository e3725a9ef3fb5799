-- Who comes back? Share of each month's new buyers who ordered again
-- chart: line
select months_since as "months since the first order", round(sum(active_members) / sum(cohort_size), 4) as "share who ordered"
from cohorts
group by months_since
order by months_since;
