-- What the program asks of the file itself.

-- statement: utc
set timezone = 'UTC';

-- statement: writes
set variable stammgast_writes = true;

-- statement: straight_to_the_file
-- From here on a commit of more than a few rows is a checkpoint: DuckDB does not write them into its log first.
set checkpoint_threshold = '0B';

-- statement: exists
select 1 from information_schema.tables where table_schema = 'staging' and table_name = 'identity';

-- statement: foreign
-- Asked of a file without our tables: does it hold others?
select 1 from information_schema.tables limit 1;

-- statement: identify
insert into staging.identity values (null, $1, $2);

-- statement: log_id
select log_id from staging.identity;

-- statement: tables_hash
select tables_hash from staging.identity;

-- statement: views_hash
select views_hash from staging.identity;

-- statement: bind
update staging.identity set log_id = $1;

-- statement: renew_views
update staging.identity set views_hash = $1;

-- statement: forget_versions
delete from staging.metric_versions;

-- statement: keep_version
insert into staging.metric_versions values ($1, $2);

-- statement: positions
select topic, partition, position from log_positions;

-- statement: settings
select churn_horizon_days, churn_threshold from staging.settings;

-- statement: forget_settings
delete from staging.settings;

-- statement: keep_settings
insert into staging.settings values ($1, $2);

-- statement: no_python_objects
set python_enable_replacements = false;

-- statement: forget_parsed
-- What this connection parsed itself makes room for tables that another one parsed.
drop table if exists parsed_facts;
drop table if exists parsed_purchases;
drop table if exists parsed_refunds;
drop table if exists parsed_decisions;
