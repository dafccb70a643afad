-- A session is no more, in that home of it. What is left says so to its owner, and lets nobody bring it back.
--
-- KEYS: as claim.lua
-- ARGV: id, record, home, ms that its end is remembered
-- Answers 1 when it was open until now.

local known = redis.call('HMGET', KEYS[1], 'state', 'home')
if known[1] and known[2] ~= ARGV[3] then
  return 0
end
redis.call('HSET', KEYS[1], 'state', 'ended', 'record', ARGV[2], 'home', ARGV[3])
redis.call('HDEL', KEYS[1], 'until')
redis.call('PEXPIRE', KEYS[1], ARGV[4])
for index = 2, 4 do
  redis.call('ZREM', KEYS[index], ARGV[1])
end
return known[1] == 'open' and 1 or 0
