-- An executor says that it has a session. One that is not known is taken in: the directory was emptied.
--
-- KEYS: as claim.lua
-- ARGV: id, record, home, ms that it counts until it is announced again, ms that its end is remembered
-- Answers 1 when it may have it, 0 when it is to stop it: it has ended, it is another executor's, or nobody waits any more
-- for it to be open.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local known = redis.call('HMGET', KEYS[1], 'state', 'home', 'until')
local state = known[1]
if state and (state == 'ended' or known[2] ~= ARGV[3]) then
  return 0
end
if state == 'opening' then
  if tonumber(known[3]) > now then
    return 1
  end
  redis.call('HSET', KEYS[1], 'state', 'ended')
  redis.call('HDEL', KEYS[1], 'until')
  redis.call('PEXPIRE', KEYS[1], ARGV[5])
  return 0
end
redis.call('HSET', KEYS[1], 'state', 'open', 'record', ARGV[2], 'home', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
for index = 2, 4 do
  redis.call('ZADD', KEYS[index], now + ARGV[4], ARGV[1])
  redis.call('PEXPIRE', KEYS[index], ARGV[5])
end
return 1
