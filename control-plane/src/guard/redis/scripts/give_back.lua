-- Gives back slots, and places of calls that wait no more; what comes free goes to who waits. After slots and counts.
--
-- KEYS from 6, four for each ticket: held of its scope, held of its tenant, counts and used scopes of its tenant
-- ARGV 6 how many scopes are told apart, 7 for how many ms counts outlive their last use
--      from 8, three for each ticket: ticket, scope, what is counted (f, c or nothing)
-- Answers how many slots came back

open()
local back, key = 0, 6
for i = 8, #ARGV, 3 do
  local ticket, scope, what = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  if release(ticket) then back = back + 1 end
  -- Who never waited has turn 0.
  if tonumber(turn_of(ticket)) > 0 then
    stop_waiting(ticket)
    redis.call('ZREM', KEYS[key], ticket)
    redis.call('ZREM', KEYS[key + 1], ticket)
  end
  if what ~= '' then
    count(KEYS[key + 2], KEYS[key + 3], scope, what, 1, tonumber(ARGV[6]), tonumber(ARGV[7]))
  end
  key = key + 4
end
forget_expired()
hand_out()
close()
return back
