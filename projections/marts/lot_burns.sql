create or replace view lot_burns as
select entry_id, lot_id, member_id, points, occurred_at
from staging.lot_burns
where points <> 0;
