-- Who may ask what over the network: one SELECT, over functions and tables that are on a list. Everything else is refused.
-- DuckDB calls stammgast_authorise(connection, query) before each statement of a remote reader and runs what it RETURNS. It returns the
-- statement written anew from the tree that was checked, so nothing runs that was not looked at; a refusal returns a query that says why.

-- statement: harmless_functions
-- Built into DuckDB and harmless: no files, no network, no settings, no log, no waiting, nothing about the server, nothing that takes
-- raw memory for a value (__internal_..., states of aggregates).
create or replace temp view harmless_functions as
select distinct lower(function_name) as name
from duckdb_functions()
where internal and function_type in ('scalar', 'aggregate', 'macro')
    and not regexp_matches(
        lower(function_name),
        '^(__internal|combine$|finalize$|quack|read_|write_|enable|disable|duckdb_|pg_|inet_|query|json_serialize_plan|current_|getenv|getvariable|setseed|nextval|currval|'
        || 'which_|txid_|in_search_path|stats$|vector_type|has_|obj_|shobj_|col_desc|session_user|user$|get_block_size|add_parquet)'
        || '|checkpoint|sleep|duckdb|secret'
    )
    and (lower(function_name) not like '%log%' or lower(function_name) in ('log', 'log2', 'log10'))
    -- A name that is also a table's is judged by that: FROM histogram('staging.facts', member_id) reads a table that nobody sees it name.
    and lower(function_name) not in (
        select lower(t.function_name) from duckdb_functions() as t where t.internal and t.function_type in ('table', 'table_macro', 'pragma')
    )
union
select unnest(['current_date', 'current_database', 'current_schema', 'repeat', 'version'])
union
-- Rows without a table; what ATTACH asks for; our own as-of questions.
select unnest(['unnest', 'range', 'generate_series', 'json_each', 'json_tree', 'duckdb_tables', 'duckdb_views', 'rfm_segment'])
union
select function_name
from duckdb_functions()
where not internal and function_type = 'table_macro' and schema_name = 'main' and function_name like '%\_as\_of' escape '\';

-- statement: open_tables
-- Our marts, and what tells a client which tables there are.
create or replace temp view open_tables as
select view_name as name
from duckdb_views()
where not internal and schema_name = 'main' and database_name = current_database()
union
select unnest(['log_positions', 'schemata', 'tables', 'columns', '"tables"', '__show_tables_expanded']);

-- statement: lists_differ
-- The lists are written only when they changed: a start on a full disk writes nothing.
select 1
where exists (from harmless_functions except from staging.allowed_functions) or exists (from staging.allowed_functions except from harmless_functions)
    or exists (from open_tables except from staging.allowed_tables) or exists (from staging.allowed_tables except from open_tables);

-- statement: forget_functions
delete from staging.allowed_functions;

-- statement: functions
insert into staging.allowed_functions
from harmless_functions;

-- statement: forget_tables
delete from staging.allowed_tables;

-- statement: tables
insert into staging.allowed_tables
from open_tables;

-- statement: lists_filled
-- Asked of a file that cannot be written: has a server ever filled them?
select 1 where exists (from staging.allowed_functions) and exists (from staging.allowed_tables);

-- statement: extension
load $path;

-- statement: serve
call quack_serve($uri, token = $token);

-- statement: stop
call quack_stop($uri);

-- statement: no_external_access
set enable_external_access = false;

-- statement: no_python_objects
-- Otherwise FROM <name> finds objects of the serving process.
set python_enable_replacements = false;

-- statement: authoriser
set quack_authorization_function = 'stammgast_authorise';

-- statement: lock
set lock_configuration = true;

-- statement: ask
from quack_query($uri, $query, token = $token);
