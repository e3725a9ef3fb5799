-- What `stammgast export` writes: every table that readers may ask.

-- statement: tables
select table_name
from information_schema.tables
where table_schema = 'main' and table_catalog = current_database()
order by table_name;
