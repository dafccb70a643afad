new Date(2020, 1, 1).getTimezoneOffset();
new Date().toString();
return [new Error('warm').stack.length];
