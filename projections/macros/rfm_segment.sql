-- The segment of an R-F cell. The grid covers all 25 cells and no cell twice (a test walks it).
create or replace macro rfm_segment(r, f) as
case
    when r <= 2 and f <= 2 then 'hibernating'
    when r <= 2 and f <= 4 then 'at_risk'
    when r <= 2 then 'cant_lose'
    when r = 3 and f <= 2 then 'about_to_sleep'
    when r = 3 and f = 3 then 'need_attention'
    when r <= 4 and f >= 4 then 'loyal'
    when r = 5 and f >= 4 then 'champions'
    when r = 4 and f = 1 then 'promising'
    when r = 5 and f = 1 then 'new'
    else 'potential_loyalist'
end;
