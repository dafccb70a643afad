-- Claims a slot that was handed to a call that waited: it begins now. After slots, windows and counts.
--
-- KEYS 6 to 11 as of take
-- ARGV 6 ticket, 7 scope, 8 ms of a lease, 9 the window in µs, 10 how many scopes are told apart, 11 for how many ms counts
--      outlive their last use, 12 1: the tenant's calls are limited too
-- Answers 1, or 0 when the slot or the place is not the ticket's any more

local epoch = open()
local TICKET, WINDOW_US, OF_TENANT = ARGV[6], tonumber(ARGV[9]), ARGV[12] == '1'
forget_expired()
local is_held = redis.call('ZREM', KEYS[7], TICKET) == 1
if OF_TENANT then is_held = redis.call('ZREM', KEYS[9], TICKET) == 1 and is_held end
local is_leased = redis.call('ZSCORE', LEASES, TICKET)
local begins = is_held and is_leased
if begins then
  redis.call('ZADD', LEASES, NOW + tonumber(ARGV[8]), TICKET)
  begin(KEYS[6], WINDOW_US)
  if OF_TENANT then begin(KEYS[8], WINDOW_US) end
  count(KEYS[10], KEYS[11], ARGV[7], 'a', 1, tonumber(ARGV[10]), tonumber(ARGV[11]))
else
  release(TICKET)
end
hand_out()
close()
return begins and 1 or 0
