-- A session that was claimed is open.
--
-- KEYS: as claim.lua
-- ARGV: id, record, home, ms that it counts until it is announced, ms that its end is remembered
-- Answers 1, or 0 when its claim is gone: then nobody may use it.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local known = redis.call('HMGET', KEYS[1], 'state', 'home', 'until')
if known[1] ~= 'opening' or known[2] ~= ARGV[3] or tonumber(known[3]) <= now then
  return 0
end
redis.call('HSET', KEYS[1], 'state', 'open', 'record', ARGV[2])
redis.call('HDEL', KEYS[1], 'until')
redis.call('PEXPIRE', KEYS[1], ARGV[5])
for index = 2, 4 do
  redis.call('ZADD', KEYS[index], now + ARGV[4], ARGV[1])
  redis.call('PEXPIRE', KEYS[index], ARGV[5])
end
return 1
