-- Whether sessions may be missing, since the directory was emptied just now.
--
-- KEYS: the generation (hash: id, since)
-- ARGV: ms after its beginning in which all are announced
-- Answers 1 or 0.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local since = redis.call('HGET', KEYS[1], 'since')
if since and now - since >= tonumber(ARGV[1]) then
  return 0
end
return 1
