-- A session ends everywhere. What stays is the word that it did, for replicas that have not heard it.
-- KEYS: state, events. ARGV: ms to live. Answers the replicas that have a copy, also when it is asked once more, since they
-- may not have been told.
local copies = {}
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.sub(field, 1, 3) == 'at:' then
    copies[#copies + 1] = string.sub(field, 4)
  else
    redis.call('HDEL', KEYS[1], field)
  end
end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[1], 'ended', 1)
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return copies
