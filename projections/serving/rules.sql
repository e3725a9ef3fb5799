-- The rule itself, made with the views, so that serving makes nothing in the file but the rows of its two lists.

-- statement: refusals
-- Why a statement, given as json_serialize_sql writes it, is refused; NULL where it is allowed.
create or replace macro staging.refusal(tree) as (
    case
        when (tree ->> '$.error') <> 'false' then 'only one SELECT at a time is answered: ' || coalesce(tree ->> '$.error_message', 'no SELECT')
        when json_array_length(tree, '$.statements') <> 1 then 'only one SELECT at a time is answered'
        else (
            with functions as (
                select lower(unnest(tree ->> '$..function_name')) as name
            ),

            named as (
                select lower(unnest(tree ->> '$..table_name')) as name
            ),

            -- A name that a query gives to a step of its own. One that also names a table could hide a forbidden one: it is no step.
            -- Tables of our schema staging are no such danger: without its schema nobody's query finds them, with it none is allowed.
            steps as (
                select lower(unnest(tree ->> '$..cte_map.map[*].key')) as name
                except
                select lower(view_name) from duckdb_views() where (database_name, schema_name) <> (current_database(), 'staging')
                except
                select lower(table_name) from duckdb_tables() where (database_name, schema_name) <> (current_database(), 'staging')
                except
                select name from named where regexp_matches(name, '[/.:*?\\]')
            ),

            schemas as (
                select lower(unnest(list_concat(tree ->> '$..schema_name', tree ->> '$..schema'))) as name
            ),

            catalogs as (
                select lower(unnest(list_concat(tree ->> '$..catalog_name', tree ->> '$..catalog'))) as name
            ),

            refusals as (
                select 1 as rank, 'the function ' || name || ' is not on the list of those that readers may call' as reason
                from functions
                where name not in (select a.name from staging.allowed_functions as a)
                union all
                select 2, 'the table ' || name || ' is not on the list of those that readers may see; FROM information_schema.tables lists them'
                from named
                where name <> '' and name not in (select lower(a.name) from staging.allowed_tables as a)
                    and name not in (select s.name from steps as s)
                union all
                select 3, 'the schema ' || name || ' is not open to readers'
                from schemas
                where name not in ('', 'main', 'information_schema')
                union all
                select 4, 'the catalog ' || name || ' is not open to readers'
                from catalogs
                where name not in ('', lower(current_database()))
            )

            select min_by(reason, rank)
            from refusals
        )
    end
);

-- statement: authorise
create or replace macro stammgast_authorise(connection, query) as (
    case
        when staging.refusal(json_serialize_sql(cast(query as varchar))) is null
            then json_deserialize_sql(json_serialize_sql(cast(query as varchar)))
        else 'select error(''refused: ' || replace(staging.refusal(json_serialize_sql(cast(query as varchar))), '''', '''''') || ''') as refused'
    end
);
