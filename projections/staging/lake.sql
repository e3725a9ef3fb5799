-- What the program asks of a DuckLake: a catalogue in a database, rows in Parquet files. `:catalogue` and `:data` are quoted by the caller.

-- statement: storage
create secret lake_storage (
    type s3, key_id ':key_id', secret ':secret', session_token ':session_token', region ':region', endpoint ':endpoint',
    url_style ':url_style', use_ssl :use_ssl
);

-- statement: attach
attach ':catalogue' as lake (data_path ':data');

-- statement: attach_read_only
attach ':catalogue' as lake (read_only);

-- statement: use
use lake;

-- statement: tables
-- The program's own tables in the lake.
select table_schema, table_name from information_schema.tables
where table_catalog = 'lake' and (table_schema = 'staging' or table_name = 'log_positions') order by all;

-- statement: staging
create schema staging;

-- statement: see
-- A reader's views stand on the lake's tables under the names that they have in a file.
create view :schema.:table as select * from lake.:schema.:table;

-- statement: writes_alone
select topic, partition, position from lake.log_positions;

-- statement: flush
-- Batches of a few rows stand in the catalogue until then.
call ducklake_flush_inlined_data('lake');

-- statement: merge
call ducklake_merge_adjacent_files('lake');

-- statement: expire
call ducklake_expire_snapshots('lake', older_than => now() - interval ':hours hours');

-- statement: clean
call ducklake_cleanup_old_files('lake', older_than => now() - interval ':hours hours');
