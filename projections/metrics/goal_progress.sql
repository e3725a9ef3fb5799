-- statement: goal_progress_as_of
-- How far each goal of the version in force on `day` is: on track is whoever is at least as far as a straight line from the day on which the
-- goal was first said, as it stands now, to its last day.
create or replace macro goal_progress_as_of(day, known_at := null) as table (
    with said as (
        select unnest(w.goals) as goal
        from staging.economics_at(day) as w
    ),

    -- Without a goal no metric is computed: on no day nothing was sold.
    goals_day as (
        select max(cast(day as date)) as goals_on
        from said
    ),

    begun as (
        select u.goal, min(u.from_on) as begins_on
        from (
            select unnest(w.goals) as goal, w.from_on
            from staging.economics as w
        ) as u
        group by u.goal
    ),

    standing as (
        select s.goal, b.begins_on, v.value, cast(day as date) as as_of,
            least(1.0, greatest(0.0, (cast(day as date) - b.begins_on) / nullif(s.goal."by" - b.begins_on, 0))) as share_of_time,
            (v.value - s.goal.baseline) / nullif(s.goal.target - s.goal.baseline, 0) as share_of_way
        from said as s
        inner join begun as b on b.goal = s.goal
        left join goal_values_as_of((select g.goals_on from goals_day as g), known_at := known_at) as v
            on v.metric = s.goal.metric and v.place is not distinct from coalesce(s.goal.store, s.goal.channel)
            and v.dimension is not distinct from
            case when s.goal.store is not null then 'store' when s.goal.channel is not null then 'channel' end
    )

    select goal.id as goal_id, goal.metric as metric, goal.store as store, goal.channel as channel, goal.baseline as baseline,
        goal.target as target, value, share_of_way, begins_on, goal."by" as ends_on, share_of_time,
        goal.baseline + share_of_time * (goal.target - goal.baseline) as line_value,
        case
            when value is null then 'not_known'
            when share_of_way >= 1 then 'reached'
            when as_of > goal."by" then 'missed'
            when share_of_way >= share_of_time then 'on_track'
            else 'behind'
        end as state, as_of
    from standing
);

-- statement: goal_progress
create or replace view goal_progress as
from goal_progress_as_of((select c.as_of from staging.clock as c));
