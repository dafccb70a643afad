-- Takes back that a replica vouches for an executor. Where no other one does it takes it out and publishes that.
-- KEYS: the index, the executor's record. ARGV: replica, executor id, epoch, channel, news. Answers whether it took it out.
local epoch = redis.call('HGET', KEYS[2], 'epoch')
if epoch and tonumber(epoch) ~= tonumber(ARGV[3]) then
  return 0
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HDEL', KEYS[2], ARGV[1])
local fields = redis.call('HGETALL', KEYS[2])
for i = 1, #fields, 2 do
  if fields[i] ~= 'epoch' and fields[i] ~= 'record' and tonumber(fields[i + 1]) > now then
    return 0
  end
end
redis.call('DEL', KEYS[2])
redis.call('ZREM', KEYS[1], ARGV[2])
redis.call('PUBLISH', ARGV[4], ARGV[5])
return 1
