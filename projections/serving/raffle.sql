-- What a draw is made of, asked by `stammgast raffle`.

-- statement: raffle
select raffle, label, begins_at, ends_at, winners, wins_per_member, commitment, drawn_with, committed_at
from raffles
where raffle = ':raffle';

-- statement: first_ticket
select min(recorded_at) as first_at
from raffle_tickets
where raffle = ':raffle';

-- statement: tickets
select ticket_id, member_id
from raffle_tickets
where raffle = ':raffle' and recorded_at <= ':at'::timestamptz
    and (void_recorded_at is null or void_recorded_at > ':at'::timestamptz)
order by ticket_id;

-- statement: behind
-- Partitions of which the tables may not know everything that was recorded until then.
select partition, max(recorded_at) as known_until
from facts
group by partition
having max(recorded_at) < ':at'::timestamptz
order by partition;
