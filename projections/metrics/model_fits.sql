-- statement: model_fits
create or replace view model_fits as
select model, parameter, value, log_likelihood, members, as_of, known_at, metric_version
from staging.model_fits;
