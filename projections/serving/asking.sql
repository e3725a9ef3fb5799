-- What a desk does for each question: refuse what is not on the lists, and run the statement that was checked.

-- statement: refusal
select staging.refusal(json_serialize_sql(cast($query as varchar)));

-- statement: rewritten
select json_deserialize_sql(json_serialize_sql(cast($query as varchar)));

-- statement: checkpoint
checkpoint;
