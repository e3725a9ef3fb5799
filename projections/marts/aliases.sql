create or replace view aliases as
select alias, member_id, linked_to, action, since, operator, reason
from staging.owners;
