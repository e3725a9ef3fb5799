create or replace view tiers as
select member_id, tier, since, until, projected
from staging.tier_changes
where member_id not in (select w.alias from staging.owners as w)
qualify row_number() over (partition by member_id order by position desc, ordinal desc) = 1;
