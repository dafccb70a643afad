-- Renews the leases of one replica, and says that it lives. After slots.
--
-- KEYS 6 replicas  sorted set  replica -> when it counts as gone, in ms
-- ARGV 6 replica, 7 ms of a lease, from 8 two for each: ticket, 1: to be counted in even if it is not there
-- Answers {epoch, how many replicas live, the tickets that are not the replica's any more ...}. With another epoch than the
-- caller knew the state was lost, so that all its tickets are counted in.

local epoch = open()
local REPLICAS, LEASE_MS = KEYS[6], tonumber(ARGV[7])
local anew = epoch ~= KNOWN_EPOCH
local gone = {}
for i = 8, #ARGV, 2 do
  local ticket = ARGV[i]
  if redis.call('ZSCORE', LEASES, ticket) then
    redis.call('ZADD', LEASES, NOW + LEASE_MS, ticket)
  elseif anew or ARGV[i + 1] == '1' then
    -- It runs: there may be more of them than slots now, and then the next ones wait.
    lease(ticket, LEASE_MS)
  else
    gone[#gone + 1] = ticket
  end
end
forget_expired()
hand_out()
redis.call('ZADD', REPLICAS, NOW + LEASE_MS, ARGV[6])
redis.call('ZREMRANGEBYSCORE', REPLICAS, '-inf', NOW)
redis.call('PEXPIRE', REPLICAS, LEASE_MS)
local answer = { epoch, tostring(redis.call('ZCARD', REPLICAS)) }
for _, ticket in ipairs(gone) do answer[#answer + 1] = ticket end
close()
return answer
