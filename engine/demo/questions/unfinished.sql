-- How far the tables are: events that came in (as facts or rejects), and facts without a whole answer.
with answered as (
    select partition, fact_position
    from decisions
    where last
)

select (select count(*) from facts where source not like 'urn:stammgast:%')
        + (select count(*) from rejects where topic not like '%facts') as taken_in,
    (select count(*) from facts as f left join answered as a on a.partition = f.partition and a.fact_position = f.position
        where a.partition is null) as undecided;
