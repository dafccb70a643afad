-- What has not been read yet, for the stream that reads. It counts as read before it is sent: a change that comes after
-- this is told again.
-- KEYS: state, events. ARGV: reader, how many.
-- Answers id and message by turns; 'replaced' for one that reads no more, 'unknown' when there is no such session.
if redis.call('HEXISTS', KEYS[1], 'owner') == 0 then return 'unknown' end
if redis.call('HGET', KEYS[1], 'reader') ~= ARGV[1] then return 'replaced' end
local read = redis.call('HGET', KEYS[1], 'read')
local from = '-'
if read then from = '(' .. read end
local taken = {}
for _, entry in ipairs(redis.call('XRANGE', KEYS[2], from, '+', 'COUNT', ARGV[2])) do
  taken[#taken + 1] = entry[1]
  taken[#taken + 1] = entry[2][2]
end
if #taken > 0 then redis.call('HSET', KEYS[1], 'read', taken[#taken - 1]) end
return taken
