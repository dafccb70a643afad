-- Writes what a replica heard of executors and publishes it.
-- KEYS: the index, then the record of each executor.
-- ARGV: replica, time to live in ms, channel, news, then for each executor its id, its epoch and what was said of it.
-- A record of a newer epoch stays as it is; with an older one go those who vouched for it.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local replica, ttl = ARGV[1], tonumber(ARGV[2])
local ends = now + ttl
for i = 2, #KEYS do
  local at = 5 + (i - 2) * 3
  local id, epoch, said = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2]
  local current = tonumber(redis.call('HGET', KEYS[i], 'epoch') or 0)
  if current <= epoch then
    if current < epoch then
      redis.call('DEL', KEYS[i])
    end
    local fields = redis.call('HGETALL', KEYS[i])
    for field = 1, #fields, 2 do
      local name = fields[field]
      -- A replica that has vouched for it and is no more.
      if name ~= 'epoch' and name ~= 'record' and tonumber(fields[field + 1]) <= now then
        redis.call('HDEL', KEYS[i], name)
      end
    end
    redis.call('HSET', KEYS[i], 'epoch', ARGV[at + 1], 'record', said, replica, ends)
    redis.call('PEXPIRE', KEYS[i], ttl)
    redis.call('ZADD', KEYS[1], ends, id)
  end
end
redis.call('PEXPIRE', KEYS[1], ttl)
redis.call('PUBLISH', ARGV[3], ARGV[4])
