-- What a session's client has set for all its requests. An empty request takes it back.
-- KEYS: state. ARGV: name, request. Answers the replicas that have a copy.
if redis.call('HEXISTS', KEYS[1], 'owner') == 0 then return {} end
if ARGV[2] == '' then
  redis.call('HDEL', KEYS[1], 'keep:' .. ARGV[1])
else
  redis.call('HSET', KEYS[1], 'keep:' .. ARGV[1], ARGV[2])
end
local copies = {}
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.sub(field, 1, 3) == 'at:' then copies[#copies + 1] = string.sub(field, 4) end
end
return copies
