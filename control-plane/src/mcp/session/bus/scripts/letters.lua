-- What has come for this replica, which is then out of its inbox.
-- KEYS: inbox. ARGV: how many.
local letters = {}
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', ARGV[1])) do
  letters[#letters + 1] = entry[2][2]
  redis.call('XDEL', KEYS[1], entry[1])
end
return letters
