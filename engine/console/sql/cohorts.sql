-- Who came back, by the month of the first order.

-- statement: cohorts
select cohort_month, months_since, cohort_size, active_members, retention, orders, net_minor
from cohorts
order by cohort_month, months_since;
