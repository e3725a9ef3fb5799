-- What do members of the highest tier buy more than others? Share of their lines against the share of all lines
with lines as (
    select l.sku, t.tier = 'gold' as gold
    from purchase_lines as l
    inner join purchases as p using (source, fact_id)
    inner join tiers as t on t.member_id = p.member_id
    where l.category = 'goods'
)

select sku, count(*) filter (where gold) as lines_of_gold, count(*) as lines_of_all,
    round((count(*) filter (where gold) / sum(count(*) filter (where gold)) over ()) / (count(*) / sum(count(*)) over ()), 2) as times_as_often
from lines
group by sku
qualify lines_of_gold >= 10
order by times_as_often desc, sku
limit 5;
