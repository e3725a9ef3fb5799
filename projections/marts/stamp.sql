-- What an answer names itself by: whoever has the same stamp has the same rows.
create or replace view stamp as
select m.log_id, m.as_of, m.settled_at, m.time_zone, m.currency, i.tables_hash, i.views_hash,
    coalesce((select list({'topic': p.topic, 'partition': p.partition, 'position': p.position} order by p.topic, p.partition)
        from log_positions as p), []) as positions,
    coalesce((select list({'hash': g.programme_hash, 'programme': g.programme, 'version': g.version} order by g.valid_from)
        from programmes as g), []) as programmes,
    coalesce((select list({'metric': v.metric, 'version': v.version} order by v.metric) from staging.metric_versions as v), []) as metrics
from meta as m
cross join staging.identity as i;
