create or replace view raffles as
select p.id as raffle, p.label, cast(p.begins_at as timestamptz) as begins_at, cast(p.ends_at as timestamptz) as ends_at, p.winners,
    p.wins_per_member, p.commitment, p."public" as drawn_with, cast(f.committed_at as timestamptz) as committed_at
from staging.raffle_plans as p
left join (
    select r.raffle.id as id, r.raffle.commitment as commitment, min(r.recorded_at) as committed_at
    from (
        select unnest(v.raffles) as raffle, f.recorded_at
        from staging.programmes as v
        inner join staging.facts as f using (partition, position)
        where v.raffles is not null
    ) as r
    group by all
) as f on f.id = p.id and f.commitment = p.commitment;
