-- What has come for this replica. What it has got goes out of the inbox when it asks for more: an answer that was lost on
-- the way is given again.
-- KEYS: inbox. ARGV: how many, then the ids of those that it has got. Answers id and letter by turns.
for i = 2, #ARGV do redis.call('XDEL', KEYS[1], ARGV[i]) end
local letters = {}
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', ARGV[1])) do
  letters[#letters + 1] = entry[1]
  letters[#letters + 1] = entry[2][2]
end
return letters
